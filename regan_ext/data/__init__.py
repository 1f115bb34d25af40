"""``regan-ext data``: get the data sets of the papers, prepare them and own images for training, check and divide them."""

"""How the images of a data set lie in what people have of it: a file a layout, which does all that is particular to it."""

"""Groups: several GANs whose discriminators are exchanged now and then (MGGAN)."""

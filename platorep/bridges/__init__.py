"""From one representation to another: fitted maps, matching without pairs, stitches.

Takes features, kernels and networks; knows no experiment. `platorep.studies` puts it to work.
"""

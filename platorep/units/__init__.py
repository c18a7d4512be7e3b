"""What single units and first filters do, and which networks share them.

Takes maps, filters and networks; knows no experiment. `platorep.studies` puts it to work.
"""

"""Decides, from events with their times to actions. Pure: no clock, no process, no file, no network, no Dask.

Its ground are the events and actions, the settings and the histograms, which all of its rooms may import. The server
and the simulation of ``testing`` drive it.
"""

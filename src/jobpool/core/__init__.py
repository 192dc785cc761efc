"""Decides, from events with their times to actions. Pure: no clock, no process, no file, no network, no Dask.

All of its rooms may import the events and actions, the settings and the histograms. The server and the simulation of
``testing`` call it.
"""

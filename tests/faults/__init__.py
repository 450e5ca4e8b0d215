"""Killed, stopped and starved: the real processes under load, and the whole log checked afterwards."""

"""Clips to files, one module a format. Where files lie and what they are called: :mod:`motion_service.store`."""

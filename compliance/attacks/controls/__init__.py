"""Deliberately broken variants, for attacks to succeed on. Never used by anything but the attack suite."""

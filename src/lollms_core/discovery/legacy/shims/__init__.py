"""The stand-ins, each named as what it stands for."""

"""Pretrained backbones: `load.load_pretrained(path, family)`; `families.FAMILIES` names the networks."""

"""How `nn` ops run on a core: one file per family, over an emitter, views and chains."""

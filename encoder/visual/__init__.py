"""Visual encoders behind one interface: SeFAR, image models of timm, models of Transformers."""

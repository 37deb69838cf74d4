"""Video → features: clips, temporal elements, SeFAR and the encoders it is compared with."""

"""Training one autoencoder: the step, its clock, its log and its checkpoint."""

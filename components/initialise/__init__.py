"""Makes the model that training starts from."""

"""What comes of a training: the saved model, its figures, its pictures, its words."""

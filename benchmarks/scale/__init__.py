"""What a training step costs: counted work, a model of machines, and measurements beside it."""

"""The commands that steer a trained generator of images, and what they share."""

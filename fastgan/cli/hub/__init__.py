"""Commands on repositories of the Hugging Face Hub."""

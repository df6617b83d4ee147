"""The web edition: `python -m lora_lab site --to site/` makes static files from the stored pages."""

"""A world with a known truth: scenes, pictures, captions, and tiny networks that learn from them.

Imported by name from its modules: `scenes`, `pictures`, `captions`, `attributes` and `folder` need
numpy only; `networks` and `checkpoints` need torch, timm and transformers.
"""

"""A world with a known truth: scenes, pictures, captions, and tiny networks that learn from them.

Import from its modules. The world needs numpy and scipy only:

    draws        random integers that are the same on every machine
    scenes       hidden places, their habits, the scenes that happen there
    pictures     scene -> pixels -> PNG
    captions     scene -> words
    attributes   scene -> what is true of it, as features
    folder       the world as an image folder with captions

The networks need torch, timm and transformers:

    networks     tiny residual networks, vision transformers and Llamas, untrained
    checkpoints  networks as folders that timm and transformers load
    lessons      what there is to learn from: training pictures, tokens, attributes
    objectives   SimCLR, attribute prediction, next token
    training     train once, resume, find the checkpoints ever after
"""

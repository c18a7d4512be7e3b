"""A world with a known truth: scenes as four senses have them, and tiny networks that learn.

Import from its modules. The world needs numpy and scipy only:

    draws        random integers that are the same on every machine
    scenes       hidden places, their habits, the scenes that happen there
    pictures     scene -> pixels -> PNG
    captions     scene -> words
    sounds       scene -> tones over a hum -> WAV
    films        scene -> frames in which objects drift -> GIF
    attributes   scene -> what is true of it, as features
    folder       the world as a folder of pictures with captions, sounds and films

The networks need torch, timm and transformers:

    inputs       what a network takes of a picture, a film, a sound
    networks     tiny residual networks, vision transformers and Llamas, untrained
    checkpoints  networks as folders that timm and transformers load
    lessons      what there is to learn from: pictures, films, sounds, tokens, attributes
    objectives   SimCLR, attribute prediction, next token
    training     train once, resume, find the checkpoints ever after
"""

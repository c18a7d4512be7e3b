"""What the hypothesis predicts where everything can be computed: arXiv:2405.07987, section 4.2.

Import from its modules:

    events      a discrete world with a known joint distribution; PMI; when PMI is a kernel
    learners    contrastive encoders of events: binary NCE, InfoNCE, tied or untied
    pmi         the experiment: learned kernels against the PMI, the log-joint, each other
"""

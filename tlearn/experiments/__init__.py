"""Many trainings of one data set: which rate, backbone or configuration is best; ensembles."""

"""The intake: pairs come in over REST and become rows and objects."""

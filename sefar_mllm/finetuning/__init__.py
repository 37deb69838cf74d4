"""Teaching a language model to answer questions about stored features."""

"""Multiple-choice questions: who is asked, beside which distractors, in which words; reading replies."""

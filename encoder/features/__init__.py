"""Features of frozen visual encoders, extracted once and kept on disk."""

"""What gateway and worker must agree on."""

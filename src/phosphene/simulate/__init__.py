"""The simulated brain, the pictures it looks at, and whole studies with a known answer."""

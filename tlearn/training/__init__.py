"""The probe, the stages and the loop that trains them."""

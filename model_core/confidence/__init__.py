"""How far a segmentation can be trusted without a reference: for each tissue, and voxel by voxel."""

"""Infer: model bundle, SMART-Net preprocessing, network, back to the source grid."""

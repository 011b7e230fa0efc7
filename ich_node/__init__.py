"""A DICOM node that reads head CT for intracranial haemorrhage. Research use only."""

__version__ = "0.1.0"

"""From a prediction to checked DICOM objects: SEG, SR and the summary picture."""

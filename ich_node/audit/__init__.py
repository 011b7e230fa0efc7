"""The audit trail as DICOM audit messages (PS3.15 A.5), to a file and to a syslog server."""

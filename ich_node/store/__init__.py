"""What the node knows, in one database: tables, their readers and writers, and the job port."""

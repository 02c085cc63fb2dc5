"""Builds and checks the course's files; never imported by qcourse."""

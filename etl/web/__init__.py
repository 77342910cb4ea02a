"""The service's face: pages for people, an API for programs, both over the published database."""

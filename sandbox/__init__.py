"""The sandbox company AnyCompany: a deterministic world in real servers, with the dirt real systems have."""

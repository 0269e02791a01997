"""What a domain is besides its devices: one module per part of <domain>."""

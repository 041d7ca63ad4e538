"""A user-space TCP/IP stack for Linux whose frames are Scapy packets. See ARCHITECTURE.md."""

__version__ = "0.1.0"

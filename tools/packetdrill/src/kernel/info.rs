//! `TCP_INFO`: Linux's `struct tcp_info`, byte for byte.

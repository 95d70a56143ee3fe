"""Fetching models from the Hugging Face Hub into the cache that all of Hugging Face's packages share.

huggingface_hub gives what is particular to the hub: where it is, the user's token, what a repository holds, its errors
and its HTTP client. The bytes are read here, since ``hf_hub_download`` cannot be cancelled, tells how far it is only to
a tqdm, and from version 2 on begins anew after an interruption.
"""

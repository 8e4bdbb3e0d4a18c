# SPDX-License-Identifier: Apache-2.0
"""Commands on repositories of the Hugging Face Hub."""

# SPDX-License-Identifier: Apache-2.0
"""Step `build`: the CPU and the CUDA library, unless they are there."""

import sys

from tests.gpu._steps import FAILED, PASSED, Outcome, Session, run_logged

# One library a process: the CUDA library needs no Python headers, and must not fail for them.
BUILD = "import sys; from fastgan._build_cache import build_cached as b; print(b(sys.argv[1]))"
LIBRARIES = {"cuda": "_C_cuda", "cpu": "_C"}


def run(session: Session) -> Outcome:
    """Builds what is missing into FASTGAN_CACHE_DIR, as `fastgan build --cuda` does."""
    from fastgan.ops import library_facts

    facts = library_facts()
    missing = [name for name in LIBRARIES if facts[f"{name}_reason"] is not None]
    failed = []
    for name in missing:
        print(f"{name}: {facts[f'{name}_reason']}", flush=True)
        line = [sys.executable, "-c", BUILD, LIBRARIES[name]]
        code = run_logged(line, sys.stdout, session.limit_s / len(missing))
        if code != 0:
            how = "ran too long" if code is None else f"exit code {code}"
            failed.append(f"{LIBRARIES[name]} was not built ({how}; see the log)")
    data = {"built": [LIBRARIES[name] for name in missing]}
    return Outcome(status=FAILED if failed else PASSED, reason="; ".join(failed), data=data)

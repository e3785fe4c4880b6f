"""The functions test_... of a test program, one after the other."""

import traceback


def run(functions, *arguments):
    """Calls those of `functions` (a dict: globals()) named test_..., prints a line for each; 1 if
    any failed, else 0."""
    failed = 0
    for name, test in [(n, f) for n, f in functions.items() if n.startswith("test_")]:
        try:
            test(*arguments)
            print("ok", name)
        except AssertionError as error:
            failed += 1
            print("FAILED", name, repr(error)[:2000])
            print(f"  line {traceback.extract_tb(error.__traceback__)[-1].lineno}")
    return 1 if failed else 0

"""What the JSON files of the goldens must look like.

A form is a type; [form] for a list of such; {str: form} for an object with any keys; or {key: form}
for one with these keys, of which those that start with '?' may be missing.
"""

from fcn_repro.errors import FcnError, short

NUMBER = (int, float)
CROPS = [{'name': str, 'crop_from': str, 'crop_to': str, '?error': {'message': str},
          'layers': [{'type': str, 'tops': [str], 'bottoms': [str], 'params': {str: object}}]}]
RULES = [{'phase': str, 'level': int, 'stages': [str], 'layers': [str]}]
REFUSALS = {str: {'text': str, 'rejected': bool}}
LEGACY = {str: {'layers': list, 'inputs': list, 'outputs': list, 'blobs': dict, 'params': dict}}
STATISTICS = {'stats': [{'filler': str, 'layer': str, 'shape': [int], 'mean': NUMBER,
                         'std': NUMBER, 'min': NUMBER, 'max': NUMBER}]}
SHAPES = {'nets': {str: [{'input': [int], 'blobs': {str: [int]}}]}}
LOADS = {str: {'accepted': bool}}


def check_form(value, form, path, where='it'):
    """FcnError, which names the place, where a JSON file's value is not of a form."""
    wanted = form if isinstance(form, type | tuple) else type(form)
    if not isinstance(value, wanted):
        names = ' or '.join(kind.__name__ for kind in
                            (wanted if isinstance(wanted, tuple) else (wanted,)))
        raise FcnError(f'{where} is {short(repr(value), 80)}, not a {names}', file=str(path),
                       do='Give a file in the format of the goldens.')
    if isinstance(form, list):
        for i, item in enumerate(value):
            check_form(item, form[0], path, f'{where}[{i}]')
    elif isinstance(form, dict):
        for key in value if str in form else form:
            name = key.removeprefix('?')
            if name in value or name == key:
                check_form(value[name], form.get(key, form.get(str)), path, f"{where}['{name}']")

"""Reports for people: pictures in the VOC colours, tables of metrics, progress, an HTML page."""

from fcn_repro.data.palette import palette
from fcn_repro.report.overlay import overlay, save_overlay, shares
from fcn_repro.report.pictures import contact_sheet, make_row, save_label_png, save_rows
from fcn_repro.report.tables import metrics_table, one_class_warning, rules_line

__all__ = ['contact_sheet', 'make_row', 'metrics_table', 'one_class_warning', 'overlay', 'palette',
           'rules_line', 'save_label_png', 'save_overlay', 'save_rows', 'shares']

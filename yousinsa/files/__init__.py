"""Files from people and for people: in which letters they are written, what a cell and a workbook say."""

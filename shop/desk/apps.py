from django.contrib.admin.apps import AdminConfig


class DeskConfig(AdminConfig):
    default_site = "shop.desk.site.DeskSite"

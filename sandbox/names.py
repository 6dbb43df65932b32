"""Word lists from which the sandbox world makes people, firms, addresses and products.

Phone ranges are the ones regulators reserve for fiction where there are enough of them (Germany, France, United
Kingdom, Ireland, United States, Canada, Australia); elsewhere a 555 block stands in. All e-mail domains are reserved.
"""

from typing import NamedTuple

EMAIL_DOMAINS = ("example.com", "example.org", "example.net")


class Country(NamedTuple):
    """One country AnyCompany sells to. In patterns `#` is a random digit and `?` a random letter."""

    code: str
    name: str
    region: str
    language: str
    currency: str
    weight: int  # share of people, in thousandths
    vat: str  # pattern of a VAT id, '' where there is none
    phones: str  # E.164 prefixes, each followed by `/` and the number of digits that follow


COUNTRIES = (
    Country(
        "DE",
        "Germany",
        "DACH",
        "de",
        "EUR",
        262,
        "DE#########",
        "+493023125/3 +496990009/3 +494066969/3 +492214710/3 +498999998/3",
    ),
    Country("AT", "Austria", "DACH", "de", "EUR", 62, "ATU########", "+43555/6"),
    Country("CH", "Switzerland", "DACH", "de", "CHF", 60, "CHE#########", "+41555/6"),
    Country(
        "FR",
        "France",
        "Western Europe",
        "fr",
        "EUR",
        110,
        "FR###########",
        "+3319900/4 +3326191/4 +3335301/4 +3346571/4 +3353649/4 +3363998/4",
    ),
    Country("BE", "Belgium", "Western Europe", "fr", "EUR", 30, "BE0#########", "+32555/6"),
    Country("NL", "Netherlands", "Western Europe", "nl", "EUR", 66, "NL#########B01", "+31555/6"),
    Country("LU", "Luxembourg", "Western Europe", "fr", "EUR", 8, "LU########", "+352555/6"),
    Country(
        "GB",
        "United Kingdom",
        "UK & Ireland",
        "en",
        "GBP",
        85,
        "GB#########",
        "+441134960/3 +441144960/3 +441154960/3 +441164960/3 +441174960/3 +441184960/3 +441214960/3 "
        "+441314960/3 +441414960/3 +441514960/3 +441614960/3 +442079460/3 +441914980/3 +447700900/3",
    ),
    Country("IE", "Ireland", "UK & Ireland", "en", "EUR", 20, "IE#######W", "+353209100/4 +353209110/4"),
    Country("SE", "Sweden", "Nordics", "sv", "SEK", 40, "SE##########01", "+46555/6"),
    Country("DK", "Denmark", "Nordics", "da", "DKK", 30, "DK########", "+45555/6"),
    Country("NO", "Norway", "Nordics", "da", "NOK", 20, "NO#########MVA", "+47555/6"),
    Country("FI", "Finland", "Nordics", "fi", "EUR", 20, "FI########", "+358555/6"),
    Country("PL", "Poland", "Eastern Europe", "pl", "PLN", 40, "PL##########", "+48555/6"),
    Country("CZ", "Czechia", "Eastern Europe", "cs", "CZK", 20, "CZ########", "+420555/6"),
    Country("BG", "Bulgaria", "Eastern Europe", "bg", "EUR", 15, "BG#########", "+359555/6"),
    Country("ES", "Spain", "Southern Europe", "es", "EUR", 30, "ESB########", "+34555/6"),
    Country("IT", "Italy", "Southern Europe", "it", "EUR", 30, "IT###########", "+39555/6"),
    Country("PT", "Portugal", "Southern Europe", "pt", "EUR", 12, "PT#########", "+351555/6"),
    Country(
        "US",
        "United States",
        "North America",
        "en",
        "USD",
        20,
        "",
        "+1212555010/1 +1310555010/1 +1312555010/1 +1415555010/1 +1503555010/1 +1512555010/1 +1617555010/1 "
        "+1206555010/1 +1303555010/1 +1404555010/1 +1602555010/1 +1702555010/1 +1713555010/1 +1720555010/1 "
        "+1213555010/1 +1214555010/1 +1215555010/1 +1216555010/1 +1305555010/1 +1313555010/1 +1314555010/1 "
        "+1212555011/1 +1310555011/1 +1312555011/1 +1415555011/1 +1503555011/1 +1512555011/1 +1617555011/1 "
        "+1206555012/1 +1303555012/1 +1404555012/1 +1602555012/1 +1702555012/1 +1713555012/1 +1720555012/1 "
        "+1213555013/1 +1214555013/1 +1215555013/1 +1216555013/1 +1305555013/1 +1313555013/1 +1314555013/1",
    ),
    Country(
        "CA",
        "Canada",
        "North America",
        "en",
        "CAD",
        8,
        "",
        "+1416555010/1 +1514555010/1 +1604555010/1 +1403555010/1 +1613555010/1 +1902555010/1 +1204555010/1 "
        "+1416555011/1 +1514555011/1 +1604555011/1 +1403555011/1 +1613555011/1 +1902555011/1 +1204555011/1 "
        "+1416555012/1 +1514555012/1 +1604555012/1 +1403555012/1 +1613555012/1 +1902555012/1 +1204555012/1",
    ),
    Country("JP", "Japan", "Asia Pacific", "ja", "JPY", 14, "", "+81555/6"),
    Country(
        "AU", "Australia", "Asia Pacific", "en", "AUD", 10, "", "+6125550/4 +6127010/4 +6135550/4 +6137010/4"
    ),
)

FIRST_NAMES = {
    "de": "Anna Lukas Lea Felix Johanna Maximilian Sophie Jonas Katharina Tobias Julia Sebastian Marie Florian Lena "
    "Niklas Hannah Moritz Clara Jan Paula Simon Franziska David Greta Matthias Jürgen Käthe Björn Günther Heike "
    "Wolfgang Petra Stefan Monika Thomas Sabine Andreas Birgit Michael Ursula Klaus Renate Uwe Ingrid Bernd Elke "
    "Frank Martina Jörg Anke Dieter Silke Rainer Antje Holger Kerstin Torsten Nadine Sven Melanie Oliver Mareike "
    "Carsten Tanja Ralf Svenja Dirk Annika Kai Frieda Emil Ida Anton Mathilda Oskar Luise Jakob Charlotte Theo",
    "fr": "Camille Louis Chloé Hugo Manon Lucas Inès Jules Léa Gabriel Zoé Arthur Juliette Raphaël Louise Adrien Alice "
    "Paul Margaux Antoine Élise Nicolas Sandrine Julien Céline Mathieu Aurélie Sébastien Nathalie François Hélène "
    "Olivier Sylvie Laurent Isabelle Thierry Véronique Pascal Martine Didier Brigitte Alain Odile Benoît Capucine "
    "Maxime Noémie Théo Clémence Bastien",
    "nl": "Daan Emma Sem Julia Lucas Tess Levi Sophie Finn Anna Bram Eva Milan Saar Luuk Nora Jesse Lotte Thijs Fleur "
    "Pieter Marijke Johannes Willemijn Kees Ingrid Hendrik Annelies Joost Femke Ruben Sanne Wouter Maaike Jeroen "
    "Esther Bas Marloes Gijs Roos",
    "en": "Oliver Amelia George Isla Harry Ava Noah Mia Jack Grace Leo Freya Arthur Lily Oscar Emily Charlie Ella "
    "James Sophia William Evie Thomas Poppy Henry Daisy Edward Alice Samuel Florence Daniel Ruby Matthew Hannah "
    "Andrew Rebecca Peter Laura Simon Helen Stephen Karen Ian Fiona Graham Siobhan Declan Aoife Liam Niamh Ethan "
    "Madison Logan Abigail Mason Harper Carter Zoe Wyatt Naomi Caleb Audrey Owen Stella Connor Heather Gavin Joyce "
    "Trevor Bridget",
    "sv": "Elsa Erik Maja Oskar Alice Lars Ebba Karl Astrid Anders Freja Johan Wilma Gustav Signe Nils Linnéa Björn "
    "Ingrid Mattias Åsa Håkan Kerstin Göran Birgitta Fredrik Annika Henrik Malin Magnus Sara Viktor Tove Axel Elin "
    "Ludvig Moa Emil Hedda Arvid",
    "da": "Freja Magnus Ida Mikkel Sofie Rasmus Clara Jens Karen Søren Mette Lars Kirsten Niels Hanne Morten Camilla "
    "Henrik Louise Kasper Nora Sander Ingeborg Øyvind Solveig Torbjørn Hilde Kjetil Marit Sindre Astrid Håvard Tuva "
    "Eirik Silje Jørgen Lærke Anton Signe Frederik",
    "fi": "Aino Eero Helmi Onni Sofia Väinö Ella Leo Aada Elias Venla Oliver Kaisa Juhani Marja Antti Liisa Mikko "
    "Päivi Jukka Sari Timo Tiina Pekka Anneli Matti Hanna Ville Outi Sami",
    "pl": "Zofia Antoni Julia Jakub Zuzanna Jan Maja Szymon Hanna Franciszek Lena Filip Alicja Mikołaj Agnieszka Piotr "
    "Katarzyna Krzysztof Małgorzata Andrzej Barbara Tomasz Ewa Paweł Joanna Marcin Magdalena Michał Monika Łukasz "
    "Beata Grzegorz Dorota Rafał Jolanta Wojciech Iwona Kamil Aleksandra Bartosz",
    "cs": "Eliška Jakub Anna Jan Tereza Tomáš Viktorie Matěj Karolína Vojtěch Adéla Ondřej Natálie Filip Lucie Lukáš "
    "Kateřina David Petra Martin Jana Petr Hana Jiří Lenka Pavel Veronika Michal Zuzana Václav",
    "bg": "Maria Georgi Viktoria Aleksandar Nikol Martin Elena Ivan Yoana Dimitar Gabriela Nikola Raya Daniel Sofia "
    "Boris Teodora Hristo Desislava Stefan Ivanka Petar Radka Todor Vesela Plamen Krasimira Kaloyan Milena Yordan",
    "es": "Lucía Hugo Martina Mateo Sofía Martín Paula Lucas Valeria Daniel Carmen Alejandro Julia Pablo Alba Álvaro "
    "Elena Diego Marta Javier Pilar Antonio Rosa Manuel Inés José Beatriz Francisco Nuria Íñigo",
    "it": "Sofia Leonardo Giulia Francesco Aurora Alessandro Ginevra Lorenzo Alice Mattia Chiara Andrea Martina Gabriele "
    "Francesca Matteo Elena Davide Valentina Giuseppe Paola Marco Silvia Luca Laura Giovanni Federica Stefano "
    "Niccolò Beatrice",
    "pt": "Maria João Leonor Francisco Matilde Afonso Beatriz Tomás Carolina Duarte Inês Gonçalo Ana Rodrigo Mariana "
    "Tiago Rita Pedro Sofia Miguel Joana Rui Teresa Nuno Cláudia Luís Helena Paulo Catarina António",
    "ja": "Haruto Yui Sota Aoi Yuki Hina Ren Sakura Daiki Mio Takumi Rin Kenta Misaki Hiroshi Keiko Takashi Yoko Kenji "
    "Akiko Satoshi Naomi Makoto Emi Kazuo Tomoko Shin Mayumi Ryo Chihiro",
}

LAST_NAMES = {
    "de": "Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Schäfer Koch Bauer Richter Klein "
    "Wolf Schröder Neumann Schwarz Zimmermann Braun Krüger Hofmann Hartmann Lange Schmitt Werner Krause Meier Lehmann "
    "Schmid Schulze Maier Köhler Herrmann König Walter Mayer Huber Kaiser Fuchs Peters Lang Scholz Möller Weiß Jung "
    "Hahn Schubert Vogel Friedrich Keller Günther Frank Berger Winkler Roth Beck Lorenz Baumann Franke Albrecht "
    "Schuster Simon Ludwig Böhm Winter Kraus Martin Schumacher Krämer Vogt Stein Jäger Otto Sommer Groß Seidel "
    "Heinrich Brandt Haas Schreiber Graf Dietrich Ziegler Kuhn Kühn Pohl Engel Horn Busch Bergmann Thomas Voigt "
    "Sauer Arnold Wolff Pfeiffer Gruber Steiner Moser Egger Hofer Leitner Brunner Wimmer Ammann Bühler Frei Gerber "
    "Zürcher Wyss Aebi Lüthi Zaugg Abegg Tanner Bachmann",
    "fr": "Martin Bernard Dubois Thomas Robert Richard Petit Durand Leroy Moreau Simon Laurent Lefebvre Michel Garcia "
    "David Bertrand Roux Vincent Fournier Morel Girard André Lefèvre Mercier Dupont Lambert Bonnet François Martinez "
    "Legrand Garnier Faure Rousseau Blanc Guérin Muller Henry Roussel Nicolas Perrin Morin Mathieu Clément Gauthier "
    "Dumont Lopez Fontaine Chevalier Robin Masson Sanchez Gérard Nguyen Boyer Denis Lemaire Duval Joly Gautier Roger "
    "Peeters Janssens Maes Claes Goossens Delvaux Lambrecht Thill Weis Schmit",
    "nl": "Jansen Visser Smit Meijer Mulder Bakker Dekker Dijkstra Bos Vos Peters Hendriks Brouwer Koster Willems Hoekstra "
    "Verhoeven Kuipers Postma Schouten Vermeulen Jacobs Gerritsen Molenaar Huisman Bosman Kramer Scholten Veenstra "
    "Prins Blom Wolters Hofman Kok Timmermans Groen Martens Bosch Lammers Driessen",
    "en": "Smith Jones Taylor Brown Williams Wilson Johnson Davies Patel Robinson Wright Thompson Evans Walker White "
    "Roberts Green Hall Thomas Clarke Jackson Wood Harris Edwards Turner Martin Cooper Hill Ward Hughes Moore Clark "
    "King Harrison Lewis Baker Lee Allen Morris Khan Scott Watson Davis Parker James Bennett Young Phillips "
    "Richardson Mitchell Bailey Carter Cook Murphy Kelly Byrne Ryan Walsh Nolan Doyle Gallagher Kennedy Quinn Miller "
    "Garcia Anderson Nelson Campbell Rivera Torres Reed Morgan Bell Murray Tremblay Gagnon Fraser Sinclair Hartley "
    "Whitfield Ashworth Pemberton Holloway Blackwood",
    "sv": "Andersson Johansson Karlsson Nilsson Eriksson Larsson Olsson Persson Svensson Gustafsson Pettersson Jonsson "
    "Jansson Hansson Bengtsson Jönsson Lindberg Jakobsson Magnusson Lindström Olofsson Lindqvist Lindgren Berg "
    "Axelsson Bergström Lundberg Lind Lundgren Mattsson Berglund Fredriksson Sandberg Henriksson Forsberg Sjöberg "
    "Wallin Engström Eklund Danielsson",
    "da": "Jensen Nielsen Hansen Pedersen Andersen Christensen Larsen Sørensen Rasmussen Jørgensen Petersen Madsen "
    "Kristensen Olsen Thomsen Christiansen Poulsen Johansen Møller Mortensen Knudsen Dahl Lund Berg Haugen Hagen "
    "Bakken Solberg Strand Moen Iversen Ødegård Lunde Sæther Aas Halvorsen Nygård Bøe Fjeld Ruud",
    "fi": "Korhonen Virtanen Mäkinen Nieminen Mäkelä Hämäläinen Laine Heikkinen Koskinen Järvinen Lehtonen Lehtinen "
    "Saarinen Salminen Heinonen Niemi Heikkilä Kinnunen Salonen Turunen Salo Laitinen Tuominen Rantanen Karjalainen "
    "Jokinen Mattila Savolainen Lahtinen Ahonen",
    "pl": "Nowak Kowalski Wiśniewski Wójcik Kowalczyk Kamiński Lewandowski Zieliński Szymański Woźniak Dąbrowski Kozłowski "
    "Jankowski Mazur Kwiatkowski Krawczyk Kaczmarek Piotrowski Grabowski Zając Pawłowski Michalski Król Wieczorek "
    "Jabłoński Wróbel Nowakowski Majewski Olszewski Stępień Malinowski Jaworski Adamczyk Dudek Nowicki Pawlak Górski "
    "Witkowski Walczak Sikora",
    "cs": "Novák Svoboda Novotný Dvořák Černý Procházka Kučera Veselý Horák Němec Pokorný Marek Pospíšil Hájek Jelínek "
    "Král Růžička Beneš Fiala Sedláček Doležal Zeman Kolář Krejčí Navrátil Čermák Urban Vaněk Blažek Kříž",
    "bg": "Ivanov Georgiev Dimitrov Petrov Nikolov Hristov Stoyanov Todorov Iliev Vasilev Atanasov Angelov Kolev Yordanov "
    "Marinov Popov Mihaylov Kostov Stefanov Aleksandrov Tsvetkov Rusev Pavlov Bozhilov Kirilov Borisov Genov Zhelev "
    "Yankov Asenov",
    "es": "García Rodríguez González Fernández López Martínez Sánchez Pérez Gómez Martín Jiménez Ruiz Hernández Díaz Moreno "
    "Muñoz Álvarez Romero Alonso Gutiérrez Navarro Torres Domínguez Vázquez Ramos Gil Ramírez Serrano Blanco Molina "
    "Suárez Ortega Delgado Castro Ortiz Rubio Marín Sanz Iglesias Núñez",
    "it": "Rossi Russo Ferrari Esposito Bianchi Romano Colombo Ricci Marino Greco Bruno Gallo Conti Costa Giordano Mancini "
    "Rizzo Lombardi Moretti Barbieri Fontana Santoro Mariani Rinaldi Caruso Ferrara Galli Martini Leone Longo Gentile "
    "Martinelli Vitale Lombardo Serra Coppola Villa Conte Ferri Fabbri",
    "pt": "Silva Santos Ferreira Pereira Oliveira Costa Rodrigues Martins Sousa Fernandes Gonçalves Gomes Lopes Marques "
    "Alves Almeida Ribeiro Pinto Carvalho Teixeira Moreira Correia Mendes Nunes Soares Vieira Monteiro Cardoso Rocha "
    "Neves",
    "ja": "Sato Suzuki Takahashi Tanaka Watanabe Ito Yamamoto Nakamura Kobayashi Kato Yoshida Yamada Sasaki Yamaguchi "
    "Matsumoto Inoue Kimura Hayashi Shimizu Saito Mori Abe Ikeda Hashimoto Ishikawa Ogawa Goto Okada Hasegawa Fujita "
    "Kondo Endo Aoki Sakamoto Murakami",
}

# A house number stands where the country puts it: `#` is replaced by it.
STREETS = {
    "de": "Hauptstraße #|Bahnhofstraße #|Gartenweg #|Schillerstraße #|Goethestraße #|Lindenallee #|Bergstraße #|"
    "Am Mühlbach #|Kirchgasse #|Birkenweg #|Rosenstraße #|Marktplatz #|Schulstraße #|Waldstraße #|Ringstraße #|"
    "Dorfstraße #|Mozartstraße #|Kastanienallee #|Jahnstraße #|Uferweg #",
    "fr": "# rue de la Paix|# avenue Victor Hugo|# rue Pasteur|# place de la Mairie|# rue des Écoles|# rue du Moulin|"
    "# boulevard Voltaire|# rue des Lilas|# chemin Vert|# rue de l'Église|# quai du Port|# impasse des Roses",
    "nl": "Kerkstraat #|Dorpsstraat #|Molenweg #|Schoolstraat #|Prinsengracht #|Wilhelminalaan #|Beatrixstraat #|"
    "Lindelaan #|Stationsweg #|Havenkade #",
    "en": "# High Street|# Station Road|# Church Lane|# Park Avenue|# Victoria Road|# Mill Lane|# Queens Road|"
    "# Maple Street|# Oak Drive|# The Crescent|# Elm Grove|# Meadow Close|# King Street|# River Walk",
    "sv": "Storgatan #|Kungsgatan #|Drottninggatan #|Skolgatan #|Björkvägen #|Ringvägen #|Strandvägen #|Åsgatan #",
    "da": "Hovedgaden #|Kirkevej #|Skolevej #|Møllevej #|Strandvejen #|Bakkevej #|Søndergade #|Storgata #|Fjordveien #",
    "fi": "Mannerheimintie #|Kirkkokatu #|Koulukatu #|Rantatie #|Mäkikatu #|Puistotie #|Asematie #",
    "pl": "ul. Polna #|ul. Leśna #|ul. Słoneczna #|ul. Krótka #|ul. Szkolna #|ul. Ogrodowa #|ul. Lipowa #|ul. Długa #",
    "cs": "Nádražní #|Školní #|Zahradní #|Lípová #|Masarykova #|Na Výsluní #|Husova #|Polní #",
    "bg": "ul. Vasil Levski #|bul. Vitosha #|ul. Rakovski #|ul. Shipka #|bul. Bulgaria #|ul. Oborishte #",
    "es": "Calle Mayor #|Calle Real #|Avenida de la Constitución #|Calle del Sol #|Plaza de España #|Calle Nueva #|"
    "Paseo Marítimo #",
    "it": "Via Roma #|Via Garibaldi #|Corso Italia #|Via Verdi #|Piazza Dante #|Via Mazzini #|Viale Europa #",
    "pt": "Rua Direita #|Avenida da Liberdade #|Rua das Flores #|Rua do Sol #|Largo da Igreja #|Rua Nova #",
    "ja": "Honcho #|Sakae #|Midori #|Chuo #|Asahi #|Minami #|Higashi #",
}

# City and its postcode patterns, the first city being the biggest. Cities with a store stand here too.
CITIES = {
    "DE": "Berlin:10###,12###,13###|Hamburg:20###,22###|München:80###,81###|Köln:50###,51###|Frankfurt am Main:60###|"
    "Stuttgart:70###|Düsseldorf:40###|Leipzig:04###|Nürnberg:90###|Dresden:01###|Bremen:28###|Hannover:30###|"
    "Freiburg im Breisgau:79###|Münster:48###|Würzburg:97###|Rostock:18###|Lüneburg:21###|Göttingen:37###",
    "AT": "Wien:1##0,1##1|Graz:80##|Linz:40##|Salzburg:50##|Innsbruck:60##|Klagenfurt:90##|St. Pölten:31##",
    "CH": "Zürich:80##|Bern:30##|Basel:40##|Luzern:60##|St. Gallen:90##|Winterthur:84##|Chur:70##",
    "FR": "Paris:750##|Lyon:690##,693##|Marseille:130##|Toulouse:310##|Nantes:440##|Lille:590##,598##|Bordeaux:330##|"
    "Strasbourg:670##|Rennes:350##|Nîmes:300##|Besançon:250##",
    "BE": "Bruxelles:10##,11##|Liège:40##|Namur:50##|Antwerpen:20##|Gent:90##|Charleroi:60##",
    "NL": "Amsterdam:10## ??|Rotterdam:30## ??|Utrecht:35## ??|Den Haag:25## ??|Eindhoven:56## ??|Groningen:97## ??",
    "LU": "Luxembourg:L-1###,L-2###|Esch-sur-Alzette:L-4###|Diekirch:L-92##",
    "GB": "London:E# #??,SE# #??,N# #??,W# #??|Manchester:M# #??|Birmingham:B# #??|Leeds:LS# #??|Glasgow:G# #??|"
    "Edinburgh:EH# #??|Bristol:BS# #??|Cardiff:CF# #??|Brighton:BN# #??",
    "IE": "Dublin:D0# ??##,D1# ??##|Cork:T12 ??##|Galway:H91 ??##|Limerick:V94 ??##",
    "SE": "Stockholm:11# ##,12# ##|Göteborg:41# ##|Malmö:21# ##|Uppsala:75# ##|Västerås:72# ##|Örebro:70# ##",
    "DK": "København:1###,2###|Aarhus:80##|Odense:50##|Aalborg:90##|Helsingør:30##|Roskilde:40##",
    "NO": "Oslo:0###|Bergen:50##|Trondheim:70##|Stavanger:40##|Tromsø:90##",
    "FI": "Helsinki:00##0|Tampere:33##0|Turku:20##0|Oulu:90##0|Jyväskylä:40##0",
    "PL": "Warszawa:00-###,02-###|Kraków:30-###|Wrocław:50-###|Poznań:60-###|Gdańsk:80-###|Łódź:90-###",
    "CZ": "Praha:1## 00|Brno:6## 00|Ostrava:7## 00|Plzeň:3## 00|Olomouc:77# 00",
    "BG": "Sofia:1###|Plovdiv:40##|Varna:90##|Burgas:80##|Ruse:70##",
    "ES": "Madrid:280##|Barcelona:080##|Valencia:460##|Sevilla:410##|Bilbao:480##|Málaga:290##",
    "IT": "Milano:201##|Roma:001##|Torino:101##|Bologna:401##|Firenze:501##|Napoli:801##",
    "PT": "Lisboa:1###-###|Porto:4###-###|Coimbra:30##-###|Braga:47##-###",
    "US": "New York:100##,112##|Los Angeles:900##|Chicago:606##|Seattle:981##|Austin:787##|Boston:021##|Denver:802##",
    "CA": "Toronto:M#? #?#|Montréal:H#? #?#|Vancouver:V#? #?#|Calgary:T#? #?#",
    "JP": "Tokyo:1##-####|Osaka:5##-####|Nagoya:4##-####|Sapporo:06#-####",
    "AU": "Sydney:20##|Melbourne:30##|Brisbane:40##|Perth:60##",
}

FIRM_WORDS = {
    "de": "Rösterei|Gastronomie|Café|Bürotechnik|Hotelbetriebe|Bäckerei|Feinkost|Catering|Getränkehandel|Praxisbedarf",
    "fr": "Hôtellerie|Brûlerie|Boulangerie|Traiteur|Restauration|Bureautique|Brasserie|Épicerie Fine",
    "nl": "Koffiebranderij|Horeca|Bakkerij|Kantoorservice|Catering|Grand Café",
    "en": "Coffee Roasters|Hospitality|Office Services|Bakery|Catering|Hotels|Trading|Fine Foods",
    "sv": "Kafferosteri|Hotell|Kontorsservice|Bageri|Restaurang|Livsmedel",
    "da": "Kafferisteri|Hotel|Kontorservice|Bageri|Restaurant|Fødevarer",
    "fi": "Paahtimo|Hotelli|Toimistopalvelu|Leipomo|Ravintola",
    "pl": "Palarnia Kawy|Hotele|Biuro Serwis|Piekarnia|Gastronomia",
    "cs": "Pražírna|Hotely|Pekárna|Kancelářské Služby|Gastro",
    "bg": "Kafe|Hoteli|Ofis Servis|Hlebarnitsa|Ketaring",
    "es": "Tostadores|Hostelería|Panadería|Oficinas|Alimentación",
    "it": "Torrefazione|Alberghi|Panificio|Ristorazione|Forniture Ufficio",
    "pt": "Torrefação|Hotelaria|Padaria|Restauração|Escritórios",
    "ja": "Coffee|Shoji|Hotel|Foods|Office",
}

LEGAL_FORMS = {
    "DE": "GmbH|AG|GmbH & Co. KG|OHG", "AT": "GmbH|AG", "CH": "AG|GmbH", "FR": "SARL|SAS|SA", "BE": "SA|SRL",
    "NL": "B.V.|N.V.", "LU": "S.A.|S.à r.l.", "GB": "Ltd|PLC|LLP", "IE": "Ltd|DAC", "SE": "AB", "DK": "ApS|A/S",
    "NO": "AS|ASA", "FI": "Oy|Oyj", "PL": "Sp. z o.o.|S.A.", "CZ": "s.r.o.|a.s.", "BG": "EOOD|OOD", "ES": "S.L.|S.A.",
    "IT": "S.r.l.|S.p.A.", "PT": "Lda.|S.A.", "US": "Inc.|LLC", "CA": "Inc.|Ltd", "JP": "K.K.", "AU": "Pty Ltd",
}  # fmt: skip


class Store(NamedTuple):
    """One shop in a street. `next_currency` is what its till books in from `changes_on`."""

    store_id: str
    city: str
    country_code: str
    timezone: str
    currency: str
    weight: int
    opened_on: str
    next_currency: str | None = None
    changes_on: str | None = None


STORES = (
    Store("BER1", "Berlin", "DE", "Europe/Berlin", "EUR", 16, "2021-03-15"),
    Store("HAM1", "Hamburg", "DE", "Europe/Berlin", "EUR", 11, "2022-05-02"),
    Store("MUC1", "München", "DE", "Europe/Berlin", "EUR", 11, "2023-09-11"),
    Store("VIE1", "Wien", "AT", "Europe/Vienna", "EUR", 8, "2023-02-20"),
    Store("ZRH1", "Zürich", "CH", "Europe/Zurich", "CHF", 8, "2022-10-10"),
    Store("PAR1", "Paris", "FR", "Europe/Paris", "EUR", 10, "2024-01-15"),
    Store("LYO1", "Lyon", "FR", "Europe/Paris", "EUR", 5, "2025-05-05"),
    Store("AMS1", "Amsterdam", "NL", "Europe/Amsterdam", "EUR", 8, "2023-06-01"),
    Store("LON1", "London", "GB", "Europe/London", "GBP", 9, "2022-03-21"),
    Store("STO1", "Stockholm", "SE", "Europe/Stockholm", "SEK", 5, "2024-04-08"),
    Store("CPH1", "København", "DK", "Europe/Copenhagen", "DKK", 4, "2025-09-15"),
    Store("PRG1", "Praha", "CZ", "Europe/Prague", "CZK", 4, "2024-06-03"),
    # Bulgaria joined the euro with 2026 and the ECB's series for the lev ended; the till was switched weeks later.
    Store("SOF1", "Sofia", "BG", "Europe/Sofia", "BGN", 4, "2024-03-01", "EUR", "2026-02-16"),
    Store("NYC1", "New York", "US", "America/New_York", "USD", 5, "2025-03-03"),
    Store("TYO1", "Tokyo", "JP", "Asia/Tokyo", "JPY", 5, "2025-01-20"),
)


class Product(NamedTuple):
    """One thing on sale; `weight` is its share of lines, `fallback` what is bought while it is not on sale."""

    sku: str
    name: str
    category: str
    price: str
    weight: int
    sold_from: str | None = None
    sold_to: str | None = None
    fallback: str | None = None


PRODUCTS = (
    Product("MAC-ONE-BK", "Any One Espresso Machine, Black", "machines", "349.00", 16),
    Product("MAC-ONE-WH", "Any One Espresso Machine, White", "machines", "349.00", 12),
    Product("MAC-DUO-BK", "Any Duo Espresso Machine, Black", "machines", "549.00", 11),
    Product("MAC-DUO-ST", "Any Duo Espresso Machine, Steel", "machines", "599.00", 9),
    Product("MAC-PRO-ST", "Any Pro Espresso Machine, Steel", "machines", "999.00", 6),
    Product(
        "MAC-PRO2-ST",
        "Any Pro 2 Espresso Machine, Steel",
        "machines",
        "1099.00",
        6,
        "2025-09-01",
        None,
        "MAC-PRO-ST",
    ),
    Product(
        "MAC-GO-RD",
        "Any Go Travel Espresso Maker, Red",
        "machines",
        "129.00",
        12,
        "2025-04-01",
        None,
        "MAC-ONE-BK",
    ),
    Product("MAC-OFF-BK", "Any Office Bean-to-Cup Station", "machines", "2490.00", 2),
    Product("COF-BRA-250", "Brazil Santos Beans 250 g", "coffee", "6.90", 52),
    Product("COF-BRA-1000", "Brazil Santos Beans 1 kg", "coffee", "22.90", 60),
    Product("COF-ETH-250", "Ethiopia Yirgacheffe Beans 250 g", "coffee", "9.90", 46),
    Product("COF-ETH-1000", "Ethiopia Yirgacheffe Beans 1 kg", "coffee", "34.90", 30),
    Product("COF-COL-250", "Colombia Huila Beans 250 g", "coffee", "8.90", 42),
    Product("COF-COL-1000", "Colombia Huila Beans 1 kg", "coffee", "29.90", 34),
    Product("COF-IND-250", "India Monsooned Malabar Beans 250 g", "coffee", "8.50", 26),
    Product("COF-GUA-250", "Guatemala Antigua Beans 250 g", "coffee", "9.50", 30),
    Product("COF-KEN-250", "Kenya AA Beans 250 g", "coffee", "10.90", 24, None, "2026-03-31", "COF-ETH-250"),
    Product(
        "COF-RWA-250", "Rwanda Kivu Beans 250 g", "coffee", "10.50", 24, "2026-02-01", None, "COF-ETH-250"
    ),
    Product("COF-HOU-250", "House Blend Beans 250 g", "coffee", "5.90", 70),
    Product("COF-HOU-1000", "House Blend Beans 1 kg", "coffee", "19.90", 88),
    Product("COF-ESP-1000", "Espresso Forte Blend Beans 1 kg", "coffee", "21.90", 76),
    Product("COF-DEC-250", "Decaf Swiss Water Beans 250 g", "coffee", "8.20", 28),
    Product("COF-DEC-1000", "Decaf Swiss Water Beans 1 kg", "coffee", "27.50", 14),
    Product("COF-ORG-1000", "Organic Peru Beans 1 kg", "coffee", "31.90", 26),
    Product("COF-XMS-250", "Winter Edition Beans 250 g", "coffee", "11.90", 18),
    Product("COF-SUB-2000", "Subscription Box 2 kg", "coffee", "37.90", 36),
    Product("ACC-FIL-2", "Water Filter, Pack of 2", "accessories", "18.90", 48),
    Product("ACC-FIL-6", "Water Filter, Pack of 6", "accessories", "49.90", 20),
    Product("ACC-DES-500", "Descaler 500 ml", "accessories", "9.90", 44),
    Product("ACC-CLN-40", "Cleaning Tablets, 40 Pieces", "accessories", "12.90", 36),
    Product("ACC-GRD-BK", "Any Grind Burr Grinder, Black", "accessories", "159.00", 14),
    Product(
        "ACC-GRD2-BK",
        "Any Grind 2 Burr Grinder, Black",
        "accessories",
        "189.00",
        10,
        "2025-11-03",
        None,
        "ACC-GRD-BK",
    ),
    Product("ACC-MLK-350", "Milk Jug 350 ml", "accessories", "19.90", 24),
    Product("ACC-FRO-WH", "Any Froth Milk Frother, White", "accessories", "79.00", 16),
    Product("ACC-TMP-58", "Tamper 58 mm", "accessories", "29.90", 16),
    Product("ACC-SCL-2K", "Barista Scale 2 kg", "accessories", "49.00", 16),
    Product("ACC-CUP-6E", "Espresso Cups, Set of 6", "accessories", "34.90", 24),
    Product("ACC-CUP-4C", "Cappuccino Cups, Set of 4", "accessories", "39.90", 18),
    Product("ACC-MAT-BK", "Tamping Mat, Black", "accessories", "14.90", 14),
    Product("ACC-BAS-18", "Precision Basket 18 g", "accessories", "24.90", 12),
)

# What one euro of list price costs in the shops of a currency: set by sales, not by the rate of the day.
PRICE_FACTORS = {
    "EUR": 1.0, "GBP": 0.89, "CHF": 0.99, "SEK": 11.5, "DKK": 7.5, "NOK": 11.8, "PLN": 4.3, "CZK": 25.0, "BGN": 1.95583,
    "USD": 1.15, "CAD": 1.6, "JPY": 168.0, "AUD": 1.75,
}  # fmt: skip
